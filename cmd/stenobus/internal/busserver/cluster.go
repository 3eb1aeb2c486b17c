package busserver

import (
	"fmt"
	"net/url"

	"github.com/nats-io/nats-server/v2/server"
)

// clusterName is the name of the cluster in nats.conf's example.
const clusterName = "stenobus"

// monitorAndCluster sets what only some servers have.
func monitorAndCluster(opts *server.Options, cfg Config) (err error) {
	if cfg.Name != "" {
		opts.ServerName = cfg.Name
	}
	if cfg.Monitor != "" {
		if opts.HTTPHost, opts.HTTPPort, err = hostPort(cfg.Monitor); err != nil {
			return err
		}
	}
	if cfg.Cluster != "" {
		if opts.Cluster.Host, opts.Cluster.Port, err = hostPort(cfg.Cluster); err != nil {
			return err
		}
		if cfg.Cell != "" {
			opts.Cluster.Name = cfg.Cell
		}
		if opts.Cluster.Name == "" {
			opts.Cluster.Name = clusterName
		}
		// Clients keep to the addresses that they were given: others may be out of their
		// reach, or pass by whoever stands between.
		opts.Cluster.NoAdvertise = true
	}
	for _, text := range cfg.Routes {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" {
			return fmt.Errorf("%w: route %q, want nats://host:port", ErrConfig, text)
		}
		opts.Routes = append(opts.Routes, u)
	}
	switch {
	case len(opts.Routes) > 0 && opts.Cluster.Port == 0:
		return fmt.Errorf("%w: routes without an address for the cluster", ErrConfig)
	case opts.Cluster.Port != 0 && opts.ServerName == "":
		return fmt.Errorf("%w: a member of a cluster needs a name of its own", ErrConfig)
	}
	return nil
}
