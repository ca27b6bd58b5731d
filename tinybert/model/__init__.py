"""The BERT encoder of teacher and student, its parameters, and where their values come from."""
