"""What people look at: text, one HTML page, curves and charts of runs. No MindSpore."""
