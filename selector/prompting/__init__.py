"""The only place where examples become text."""
