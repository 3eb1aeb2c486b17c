package subjects

import "github.com/nats-io/nats.go"

// Cell is the name of the cell in which the owner of a connection lives: the one it was
// given or, where named is empty, the cluster of the server that it is connected to. It
// is empty while there is no connection, and on a server that is in no cluster.
func Cell(nc *nats.Conn, named string) string {
	if named != "" {
		return named
	}
	return nc.ConnectedClusterName()
}
