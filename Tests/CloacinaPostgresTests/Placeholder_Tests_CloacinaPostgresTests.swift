// Removed by the lead once the target has files of its own.
