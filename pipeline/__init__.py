"""From raw video to published clips; knows nothing of Prefect."""
