"""The service: selections, orders, answers and a page over HTTP. Needs the extra `serve`."""
