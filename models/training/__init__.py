"""Training runs: resumable, told as events, measured as COCO does."""
