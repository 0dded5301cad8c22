"""What models are asked, wing by wing; `mechbp.models.families` names them all."""
