"""From a teacher's directory and a task's data to a chain of recipes. No MindSpore."""
