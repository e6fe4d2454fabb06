"""From a checkpoint to its model, and to the files of other projects."""
