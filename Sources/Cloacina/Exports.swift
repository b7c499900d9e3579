@_exported public import CloacinaWorkflow
