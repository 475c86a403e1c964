"""The record of every board that was made, by whom, and with which certificate."""
