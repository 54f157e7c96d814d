"""One adapter a tool: named for intent, typed results, foreign errors stop here."""
