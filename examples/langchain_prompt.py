"""A LangChain prompt whose demonstrations an exported policy chooses: langchain_prompt.py ARTIFACT TASK.toml TEXT."""

import sys

from langchain_core.prompts import ChatPromptTemplate, FewShotChatMessagePromptTemplate

from selector.adapters.langchain import DemonstrationSelector

artifact, task, text = sys.argv[1:]
shots = FewShotChatMessagePromptTemplate(
    input_variables=["text"],
    example_selector=DemonstrationSelector.from_artifact(artifact, task, k=3),
    example_prompt=ChatPromptTemplate.from_messages([("human", "{text}"), ("ai", "{label}")]),
)
prompt = ChatPromptTemplate.from_messages([("system", "Judge the review."), shots, ("human", "{text}")])
print(prompt.invoke({"text": text}).to_string())  # put a chat model behind it: (prompt | model).invoke(...)
