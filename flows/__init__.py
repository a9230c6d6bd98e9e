"""When and where the steps run; the only folder that imports Prefect."""
