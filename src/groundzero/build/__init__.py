"""The main job: the user's text and facts in, a chat model of their own out, within a time budget."""
