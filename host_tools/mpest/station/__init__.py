"""A line of stations that makes boards: job, boards, authority, ledger."""
