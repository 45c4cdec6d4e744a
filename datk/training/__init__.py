"""From batches to the selected weights. Target labels cannot get here."""
