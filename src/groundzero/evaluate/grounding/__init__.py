"""The exam of grounded answers: what is asked of a run over a graph, how it is judged, and the report card."""
