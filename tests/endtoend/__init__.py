"""The whole charger: portal in-process, the world and the daemon as processes of their own, over real sockets, meters and files."""
