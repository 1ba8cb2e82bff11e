"""An exported policy inside a scikit-learn classifier, searched by a grid: sklearn_classifier.py ARTIFACT TASK.toml."""

import sys

from sklearn.model_selection import GridSearchCV

from selector.adapters.sklearn import ICLClassifier
from selector.data.task import Task

artifact, task = sys.argv[1], Task.load(sys.argv[2])
texts, labels = [row.fields["text"] for row in task.pool], [row.label for row in task.pool]
classifier = ICLClassifier(method=artifact, lm=task.lm.model, template=task.template)
search = GridSearchCV(classifier, {"k": [1, 2]}, cv=2).fit(texts, labels)
print("best k:", search.best_params_["k"])
answers = search.predict([row.fields["text"] for row in task.test])
print("accuracy:", sum(answer == row.label for answer, row in zip(answers, task.test, strict=True)) / len(answers))
