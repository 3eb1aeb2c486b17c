package busserver

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
)

// cells sets what joins clusters into a supercluster.
func cells(opts *server.Options, cfg Config) (err error) {
	if cfg.Gateway != "" {
		if opts.Gateway.Host, opts.Gateway.Port, err = hostPort(cfg.Gateway); err != nil {
			return err
		}
	}
	if cfg.Cell != "" {
		if strings.ContainsAny(cfg.Cell, " =") {
			return fmt.Errorf("%w: cell %q, want a name without spaces and equals signs", ErrConfig, cfg.Cell)
		}
		opts.Gateway.Name = cfg.Cell
	}
	for _, text := range cfg.Gateways {
		if err := addGateway(opts, text); err != nil {
			return err
		}
	}
	switch {
	case opts.Gateway.Port == 0 && (cfg.Cell != "" || len(opts.Gateway.Gateways) > 0):
		return fmt.Errorf("%w: a cell without an address for the gateways of others", ErrConfig)
	case opts.Gateway.Port != 0 && opts.Gateway.Name == "":
		return fmt.Errorf("%w: gateways of a cell without a name", ErrConfig)
	case opts.Gateway.Port != 0 && opts.ServerName == "":
		return fmt.Errorf("%w: a server of a cell needs a name of its own", ErrConfig)
	case opts.Gateway.Port != 0 && opts.JetStream && len(opts.Routes) == 0:
		// NATS refuses it, or waits for peers that never come.
		return fmt.Errorf("%w: in a cell alone a server can't keep streams: give it routes to two others, or let another cell keep them", ErrConfig)
	}
	return nil
}

// addGateway takes one NAME=URL.
func addGateway(opts *server.Options, text string) error {
	name, addr, ok := strings.Cut(text, "=")
	u, err := url.Parse(addr)
	if !ok || name == "" || err != nil || u.Host == "" {
		return fmt.Errorf("%w: gateway %q, want NAME=nats://host:port", ErrConfig, text)
	}
	for _, g := range opts.Gateway.Gateways {
		if g.Name == name {
			g.URLs = append(g.URLs, u)
			return nil
		}
	}
	opts.Gateway.Gateways = append(opts.Gateway.Gateways, &server.RemoteGatewayOpts{Name: name, URLs: []*url.URL{u}})
	return nil
}
