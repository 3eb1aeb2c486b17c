// Package busserver runs a NATS server inside this process, configured by the file
// that a stand-alone nats-server would read.
package busserver

import (
	"context"
	_ "embed" // for the shipped configuration
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Shipped is the nats.conf of the project's root, which is a link to it.
//
//go:embed nats.conf
var Shipped string

var (
	// ErrInUse is wrapped where another process holds the port or the data.
	ErrInUse = errors.New("in use")
	// ErrConfig is wrapped where the configuration or an address is wrong.
	ErrConfig = errors.New("NATS configuration")
)

// readyPoll is how often a starting server is asked whether it answers.
const readyPoll = 20 * time.Millisecond

// Config of a server.
type Config struct {
	File   string       // with the configuration; empty: Shipped
	Listen string       // host:port, 0 for any free port; empty: as the file says
	Dir    string       // where streams live; empty: as the file says
	Log    *slog.Logger // nil: no log

	Name    string   // of the server; empty: as the file says. A member of a cluster needs one
	Monitor string   // host:port of the server's own pages; empty: as the file says
	Cluster string   // host:port for the other members of its cluster; empty: as the file says
	Routes  []string // URLs of members; empty: as the file says

	Cell     string   // name of its cluster, for gateways of other clusters too; empty: as the file says
	Gateway  string   // host:port for the other cells; empty: as the file says
	Gateways []string // NAME=URL of servers of other cells, a name as often as it has servers; empty: as the file says
	NoStore  bool     // keep no streams: another cell does
}

// Server is a running NATS server.
type Server struct {
	*server.Server
	Dir  string // where its streams live; empty: it keeps none
	lock *dirLock
}

// Start returns when the server takes connections, or says why it can't. Streams that
// are large take a while to be read back; ctx bounds that.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	opts, err := options(cfg)
	if err != nil {
		return nil, err
	}
	if err := portFree(opts); err != nil {
		return nil, err
	}
	lock := &dirLock{}
	if opts.JetStream {
		if lock, err = lockDir(opts.StoreDir); err != nil {
			return nil, err
		}
	}
	s, err := start(ctx, opts, cfg.Log)
	if err != nil {
		return nil, errors.Join(err, lock.release())
	}
	return &Server{Server: s, Dir: opts.StoreDir, lock: lock}, nil
}

// Stop ends the server and gives its directory back.
func (s *Server) Stop() error {
	s.Shutdown()
	s.WaitForShutdown()
	return s.lock.release()
}

func options(cfg Config) (*server.Options, error) {
	opts, err := read(cfg.File)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	opts.NoSigs = true // signals belong to the program around it
	opts.DisableJetStreamBanner = true
	if err := store(opts, cfg); err != nil {
		return nil, err
	}
	if cfg.Listen != "" {
		if opts.Host, opts.Port, err = hostPort(cfg.Listen); err != nil {
			return nil, err
		}
	}
	if err := monitorAndCluster(opts, cfg); err != nil {
		return nil, err
	}
	return opts, cells(opts, cfg)
}

// store says whether and where the server keeps streams.
func store(opts *server.Options, cfg Config) error {
	if cfg.NoStore {
		opts.JetStream, opts.StoreDir = false, ""
		return nil
	}
	if !opts.JetStream {
		return fmt.Errorf("%w: it has no jetstream block, and results need one", ErrConfig)
	}
	if cfg.Dir != "" {
		opts.StoreDir = cfg.Dir
	}
	if opts.StoreDir == "" {
		return fmt.Errorf("%w: jetstream has no store_dir", ErrConfig)
	}
	return nil
}

func read(file string) (*server.Options, error) {
	if file != "" {
		return server.ProcessConfigFile(file)
	}
	opts := &server.Options{}
	return opts, opts.ProcessConfigString(Shipped)
}

// hostPort reads an address. Port 0 becomes the server's word for any free one.
func hostPort(addr string) (string, int, error) {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("%w: address %q, want host:port", ErrConfig, addr)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("%w: address %q, the port is not a number of 0 to 65535", ErrConfig, addr)
	}
	if port == 0 {
		return host, server.RANDOM_PORT, nil
	}
	return host, int(port), nil
}

// portFree finds a taken port before anything is written. The server itself would only
// log it.
func portFree(opts *server.Options) error {
	if opts.DontListen || opts.Port < 0 {
		return nil
	}
	port := opts.Port
	if port == 0 {
		port = server.DEFAULT_PORT
	}
	addr := net.JoinHostPort(opts.Host, strconv.Itoa(port))
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("NATS address %s is %w: %w", addr, ErrInUse, err)
	}
	return l.Close()
}

func start(ctx context.Context, opts *server.Options, log *slog.Logger) (*server.Server, error) {
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("NATS server: %w", err)
	}
	bridge := &logBridge{log: log.With("part", "nats")}
	s.SetLogger(bridge, false, false)
	s.Start()
	if err := awaitReady(ctx, s, bridge); err != nil {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, err
	}
	return s, nil
}

func awaitReady(ctx context.Context, s *server.Server, bridge *logBridge) error {
	for {
		if text := bridge.fatal.Load(); text != nil {
			return fmt.Errorf("NATS server: %s", *text)
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("NATS server is not ready: %w", context.Cause(ctx))
		}
		if s.ReadyForConnections(readyPoll) {
			return nil
		}
	}
}

// makeDir creates a directory that only its user can read.
func makeDir(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	return abs, nil
}
