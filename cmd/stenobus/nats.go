package main

import (
	"errors"
	"net/url"
	"os"
	"strings"

	"github.com/nats-io/nats.go"
)

// natsFlags say where the bus is and who we are to it.
type natsFlags struct {
	URLs []string `name:"nats" help:"NATS servers, with commas between them." placeholder:"URL" default:"nats://127.0.0.1:4222" group:"NATS"`
	natsAuthFlags
}

// natsAuthFlags say who we are to the bus. Secrets come from files: arguments and
// addresses show in process lists and logs.
type natsAuthFlags struct {
	NatsCreds    string `help:"File with credentials (JWT and seed)." placeholder:"FILE" group:"NATS"`
	NatsNkey     string `help:"File with an nkey seed." placeholder:"FILE" group:"NATS"`
	NatsUserFile string `help:"File with a user and a password, on two lines or with a colon between them." placeholder:"FILE" group:"NATS"`
	NatsCA       string `name:"nats-ca" help:"File with the certificates that servers are checked against." placeholder:"FILE" group:"NATS"`
	NatsCert     string `help:"File with this program's TLS certificate." placeholder:"FILE" group:"NATS"`
	NatsKey      string `help:"File with the key of --nats-cert." placeholder:"FILE" group:"NATS"`
}

// servers checks the addresses.
func (f *natsFlags) servers() (string, error) {
	for _, text := range f.URLs {
		u, err := url.Parse(text)
		if err != nil {
			return "", usageError("--nats: not the address of a server, want nats://host:port")
		}
		switch u.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			return "", usageError("--nats: %q is no scheme of a NATS server, allowed are nats, tls, ws and wss", u.Scheme)
		}
		if u.User != nil {
			return "", usageError("--nats: the address of %s carries a user or a password, which would show in "+
				"process lists: use --nats-user-file, --nats-nkey or --nats-creds", u.Host)
		}
	}
	return strings.Join(f.URLs, ","), nil
}

// options reads and checks the files.
func (f *natsAuthFlags) options() ([]nats.Option, error) {
	var opts []nats.Option
	for _, file := range []struct {
		flag, path string
		option     func(string) (nats.Option, error)
	}{
		{"--nats-creds", f.NatsCreds, func(p string) (nats.Option, error) { return nats.UserCredentials(p), nil }},
		{"--nats-nkey", f.NatsNkey, nats.NkeyOptionFromSeed},
		{"--nats-user-file", f.NatsUserFile, userFromFile},
		{"--nats-ca", f.NatsCA, func(p string) (nats.Option, error) { return nats.RootCAs(p), nil }},
	} {
		if file.path == "" {
			continue
		}
		if _, err := os.Stat(file.path); err != nil {
			return nil, usageError("%s: %w", file.flag, err)
		}
		opt, err := file.option(file.path)
		if err != nil {
			return nil, usageError("%s %s: %w", file.flag, file.path, err)
		}
		opts = append(opts, opt)
	}
	if (f.NatsCert == "") != (f.NatsKey == "") {
		return nil, usageError("--nats-cert and --nats-key go together")
	}
	if f.NatsCert != "" {
		opts = append(opts, nats.ClientCert(f.NatsCert, f.NatsKey))
	}
	return opts, nil
}

// userFromFile reads the file again on each connect, so that a password can change.
func userFromFile(path string) (nats.Option, error) {
	if _, _, err := readUser(path); err != nil {
		return nil, err
	}
	return nats.UserInfoHandler(func() (string, string) {
		user, password, _ := readUser(path) // an error ends as a refusal by the server
		return user, password
	}), nil
}

func readUser(path string) (user, password string, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", "", err
	}
	text := strings.ReplaceAll(strings.TrimSpace(string(b)), "\r\n", "\n")
	user, password, ok := strings.Cut(text, "\n")
	if !ok {
		user, password, ok = strings.Cut(text, ":")
	}
	if !ok || user == "" || password == "" {
		return "", "", errors.New("want a user and a password, on two lines or with a colon between them")
	}
	return user, password, nil
}
