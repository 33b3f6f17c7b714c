"""One configuration model, several text forms: wg-quick files and the UAPI."""
