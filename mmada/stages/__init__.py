"""One file per stage of dvc.yaml: inputs and outputs only. See `mmada.stage_runner` for what a stage module holds."""
