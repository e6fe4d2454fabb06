from models_of_projects import as_checkpoint, classifier, fine_tuning_backbone

__all__ = ['as_checkpoint', 'classifier', 'fine_tuning_backbone']
