package busserver_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"stenobus/cmd/stenobus/internal/busserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestShippedConfigurationServesJetStream(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	s := start(t, busserver.Config{Listen: "127.0.0.1:0", Dir: dir})
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AccountInfo(t.Context()); err != nil {
		t.Fatalf("JetStream: %v", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("data directory has mode %v, want 0700", info.Mode().Perm())
	}
}

func TestSecondServerOnTheSameData(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := start(t, busserver.Config{Listen: "127.0.0.1:0", Dir: dir})
	_, err := busserver.Start(t.Context(), busserver.Config{Listen: "127.0.0.1:0", Dir: dir})
	if !errors.Is(err, busserver.ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("second server: %v, want one that says that %s is in use", err, dir)
	}
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	start(t, busserver.Config{Listen: "127.0.0.1:0", Dir: dir})
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = busserver.Start(t.Context(), busserver.Config{Listen: l.Addr().String(), Dir: t.TempDir()})
	if !errors.Is(err, busserver.ErrInUse) || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Fatalf("start: %v, want one that names %s", err, l.Addr())
	}
}

func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text, listen, want string
	}{
		"syntax":       {"listen: [", "", "NATS configuration"},
		"no jetstream": {"port: 4222", "", "no jetstream block"},
		"no store":     {"jetstream: enabled", "", "no store_dir"},
		"no port":      {busserver.Shipped, "localhost", "want host:port"},
		"bad port":     {busserver.Shipped, "localhost:http", "not a number"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "nats.conf")
			if err := os.WriteFile(file, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := busserver.Start(t.Context(), busserver.Config{File: file, Listen: tc.listen})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("start: %v, want %q in it", err, tc.want)
			}
		})
	}
}

func TestBadCells(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cfg  busserver.Config
		want string
	}{
		"no address":     {busserver.Config{Name: "a", Cell: "east", NoStore: true}, "without an address"},
		"others only":    {busserver.Config{Name: "a", Gateways: []string{"west=nats://127.0.0.1:1"}, NoStore: true}, "without an address"},
		"no cell":        {busserver.Config{Name: "a", Gateway: "127.0.0.1:0", NoStore: true}, "without a name"},
		"no name":        {busserver.Config{Cell: "east", Gateway: "127.0.0.1:0", NoStore: true}, "a name of its own"},
		"a wrong name":   {busserver.Config{Name: "a", Cell: "the east", Gateway: "127.0.0.1:0", NoStore: true}, `cell "the east"`},
		"no URL":         {busserver.Config{Name: "a", Cell: "east", Gateway: "127.0.0.1:0", NoStore: true, Gateways: []string{"west"}}, "want NAME=nats://host:port"},
		"no cell of URL": {busserver.Config{Name: "a", Cell: "east", Gateway: "127.0.0.1:0", NoStore: true, Gateways: []string{"=nats://h:1"}}, "want NAME=nats://host:port"},
		"a lonely store": {busserver.Config{Name: "a", Cell: "east", Gateway: "127.0.0.1:0"}, "routes to two others"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.cfg.Listen, tc.cfg.Dir = "127.0.0.1:0", t.TempDir()
			_, err := busserver.Start(t.Context(), tc.cfg)
			if !errors.Is(err, busserver.ErrConfig) || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("start: %v, want %q in it", err, tc.want)
			}
		})
	}
}

// What the shipped configuration shows of cells is what a server reads.
func TestShippedCells(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		first string
		cells []string
	}{
		"store": {"# gateway {\n#   name: \"store\"", nil},
		"east":  {"# server_name: \"east-1\"", []string{"store", "west"}},
	} {
		at := strings.Index(busserver.Shipped, tc.first)
		if at < 0 {
			t.Fatalf("no %q", tc.first)
		}
		text, _, _ := strings.Cut(busserver.Shipped[at:], "\n\n")
		text = strings.ReplaceAll("\n"+text, "\n# ", "\n")
		var opts server.Options
		if err := opts.ProcessConfigString(text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		var cells []string
		for _, g := range opts.Gateway.Gateways {
			cells = append(cells, g.Name)
		}
		if opts.Gateway.Name != name || opts.Gateway.Port != 7222 || !slices.Equal(cells, tc.cells) {
			t.Errorf("gateway %q on port %d, others %v", opts.Gateway.Name, opts.Gateway.Port, cells)
		}
	}
}

// A server that keeps no streams touches no directory.
func TestServerWithoutAStore(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	s := start(t, busserver.Config{
		Name: "east-1", Listen: "127.0.0.1:0", Dir: dir, NoStore: true, Cell: "east", Gateway: "127.0.0.1:0",
		Gateways: []string{"store=nats://127.0.0.1:1", "store=nats://127.0.0.1:2", "east=nats://127.0.0.1:3"},
	})
	if s.ClusterName() != "east" || s.JetStreamEnabled() || s.Dir != "" {
		t.Errorf("cluster %q, JetStream %v, directory %q", s.ClusterName(), s.JetStreamEnabled(), s.Dir)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("directory: %v", err)
	}
}

func TestMissingConfiguration(t *testing.T) {
	t.Parallel()
	_, err := busserver.Start(t.Context(), busserver.Config{File: "nowhere.conf"})
	if err == nil || !strings.Contains(err.Error(), "nowhere.conf") {
		t.Fatalf("start: %v, want one that names the file", err)
	}
}

func TestStartGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("stop that"))
	_, err := busserver.Start(ctx, busserver.Config{Listen: "127.0.0.1:0", Dir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "stop that") {
		t.Fatalf("start: %v", err)
	}
}

func start(t *testing.T, cfg busserver.Config) *busserver.Server {
	t.Helper()
	s, err := busserver.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() })
	return s
}
