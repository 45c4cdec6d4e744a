"""From batches to the selected weights. Target labels are not given here."""
