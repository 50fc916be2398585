"""Why an assignment came out as it did."""
