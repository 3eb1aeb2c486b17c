package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"stenobus/cmd/stenobus/internal/front"
	"stenobus/gateway/auth"
	"stenobus/gateway/reload"
)

// doorFlags say who may come in to a gateway. Their names are the same in gateway and up.
type doorFlags struct {
	AuthKeys     string        `help:"File of API keys that \"stenobus keys\" makes; read again when it changes." placeholder:"FILE" group:"Clients"`
	SecretFile   string        `name:"jwt-secret-file" help:"File with the secret that clients' tokens (JWT) are signed with, HS256 to HS512; read again when it changes." placeholder:"FILE" xor:"jwt" group:"Clients"`
	JWTKey       string        `name:"jwt-key" help:"File with the public key of clients' tokens in PEM, or several: RSA, ECDSA or Ed25519; read again when it changes." placeholder:"FILE" xor:"jwt" group:"Clients"`
	JWKSURL      string        `name:"jwks-url" help:"Where the public keys of clients' tokens are fetched as a JWKS: https, or http on loopback." placeholder:"URL" xor:"jwt" group:"Clients"`
	JWTAudience  []string      `name:"jwt-audience" help:"What aud of a token has to hold; of several one." placeholder:"NAME" group:"Clients"`
	JWTIssuer    string        `name:"jwt-issuer" help:"What iss of a token has to be." placeholder:"NAME" group:"Clients"`
	JWTNameClaim string        `name:"jwt-name-claim" help:"The claim that says who a client is." placeholder:"NAME" default:"sub" group:"Clients"`
	JWTLeeway    time.Duration `name:"jwt-leeway" help:"By how much the issuer's clock may differ, at most 5m." default:"30s" group:"Clients"`
	NoAuth       bool          `name:"insecure-no-auth" help:"Let anybody in who reaches this gateway, also from other machines." group:"Clients"`

	TLSCert       string        `name:"tls-cert" help:"File with the certificate of this gateway and those that it was signed with; read again when it changes." placeholder:"FILE" group:"Clients"`
	TLSKey        string        `name:"tls-key" help:"File with the key of --tls-cert." placeholder:"FILE" group:"Clients"`
	HeaderTimeout time.Duration `help:"How long a client may take for the header of its request, TLS included." default:"10s" group:"Clients"`
	HeaderBytes   int           `name:"max-header-bytes" help:"Largest header of a request in bytes." default:"16384" group:"Clients"`
	MaxWaiting    int           `help:"Connections that may be open with no request under way; beyond it the one that waits longest is closed." default:"4096" group:"Clients"`
	MaxWaitingOne int           `name:"max-waiting-address" help:"The same of one address." default:"2048" group:"Clients"`
}

// Validate is called by the parser.
func (f *doorFlags) Validate() error {
	tokens := f.SecretFile != "" || f.JWTKey != "" || f.JWKSURL != ""
	switch {
	case (f.TLSCert == "") != (f.TLSKey == ""):
		return errors.New("--tls-cert and --tls-key go together")
	case !tokens && (len(f.JWTAudience) > 0 || f.JWTIssuer != ""):
		return errors.New("--jwt-audience and --jwt-issuer need --jwt-secret-file, --jwt-key or --jwks-url")
	case f.NoAuth && (tokens || f.AuthKeys != ""):
		return errors.New("--insecure-no-auth lets anybody in: leave --auth-keys, --jwt-secret-file, --jwt-key and --jwks-url out, or it")
	case f.HeaderTimeout < 100*time.Millisecond || f.HeaderTimeout > time.Minute:
		return errors.New("--header-timeout is out of range: want 100ms to 1m")
	case f.HeaderBytes < 1<<10 || f.HeaderBytes > 1<<20:
		return errors.New("--max-header-bytes is out of range: want 1024 to 1048576")
	case f.MaxWaiting < 1 || f.MaxWaitingOne < 1:
		return errors.New("--max-waiting and --max-waiting-address are out of range: want 1 and more")
	}
	return nil
}

// door is where clients come in.
type door struct {
	listener net.Listener
	scheme   string             // of HTTP
	auth     auth.Authenticator // nil: nobody is asked
	limits   front.Limits
	ready    func(context.Context) error // tells why nobody can come in, if so; nil: there is nothing to wait for
	keepers  []part                      // what keeps files and keys new
}

// plainDoor is one without TLS and authentication, nil where there is no listener.
func plainDoor(l net.Listener) *door {
	if l == nil {
		return nil
	}
	return &door{listener: l, scheme: "http"}
}

// address is where HTTP is spoken. WebSockets have ws in place of http.
func (d *door) address() string { return d.scheme + "://" + d.listener.Addr().String() }

func (d *door) socket() string {
	return "ws" + d.scheme[len("http"):] + "://" + d.listener.Addr().String() + "/transcribe"
}

// open reads and checks everything that clients are let in by. byProxy tells that one in
// front authenticates them.
func (f *doorFlags) open(l net.Listener, byProxy bool, principalFlag string, reg prometheus.Registerer, log *slog.Logger) (*door, error) {
	files, err := reload.NewMetrics(reg)
	if err != nil {
		return nil, err
	}
	conns, err := front.NewMetrics(reg)
	if err != nil {
		return nil, err
	}
	d := plainDoor(l)
	d.limits = front.Limits{
		HeaderWait: f.HeaderTimeout, HeaderBytes: f.HeaderBytes,
		Waiting: f.MaxWaiting, WaitingEach: f.MaxWaitingOne, Metrics: conns,
	}
	if err := d.authenticate(f, files, reg, log); err != nil {
		return nil, usageError("%w", err)
	}
	if f.TLSCert != "" {
		c, err := front.OpenCertificate(f.TLSCert, f.TLSKey, log, files, 0)
		if err != nil {
			return nil, usageError("--tls-cert, --tls-key: %w", err)
		}
		d.listener, d.scheme = front.Secure(l, c), "https"
		d.keep("certificate", c.Run)
	}
	return d, f.closed(d, byProxy, principalFlag, log)
}

// closed refuses to let in those whom nothing is known of, but from this machine.
func (f *doorFlags) closed(d *door, byProxy bool, principalFlag string, log *slog.Logger) error {
	open := front.Closed(d.listener)
	switch {
	case open == nil:
		return nil
	case d.auth != nil || byProxy:
		if d.auth != nil && d.scheme == "http" {
			log.Warn("clients show their keys and tokens in the clear, unless a proxy in front has TLS: see --tls-cert", "listen", d.listener.Addr().String())
		}
		return nil
	case f.NoAuth:
		log.Warn("anybody who reaches this gateway may use it: --insecure-no-auth", "listen", d.listener.Addr().String())
		return nil
	}
	return usageError("--listen %w: give --auth-keys, --jwt-secret-file, --jwt-key or --jwks-url, or, behind a proxy that "+
		"authenticates clients, %s, or listen on 127.0.0.1; --insecure-no-auth lets anybody in", open, principalFlag)
}

func (d *door) keep(name string, run func(context.Context) error) {
	d.keepers = append(d.keepers, part{name: name, run: run})
}

// authenticate opens what the flags name.
func (d *door) authenticate(f *doorFlags, files *reload.Metrics, reg prometheus.Registerer, log *slog.Logger) error {
	var known auth.First
	if f.AuthKeys != "" {
		keys, err := auth.OpenKeys(auth.KeysConfig{File: f.AuthKeys, Log: log, Metrics: files})
		if err != nil {
			return fmt.Errorf("--auth-keys: %w", err)
		}
		known = append(known, keys)
		d.keep("API keys", keys.Run)
	}
	source, err := d.tokenKeys(f, files, reg, log)
	if err != nil {
		return err
	}
	if source != nil {
		tokens, err := auth.NewTokens(auth.TokensConfig{
			Keys: source, Audience: f.JWTAudience, Issuer: f.JWTIssuer, NameClaim: f.JWTNameClaim, Leeway: f.JWTLeeway,
		})
		if err != nil {
			return fmt.Errorf("--jwt-leeway: %w", err)
		}
		known = append(known, tokens)
	}
	if len(known) > 0 {
		d.auth = known
	}
	return nil
}

// tokenKeys opens what tokens are checked with, nil where they are not accepted.
func (d *door) tokenKeys(f *doorFlags, files *reload.Metrics, reg prometheus.Registerer, log *slog.Logger) (auth.KeySource, error) {
	open, flag, path := auth.OpenSecret, "--jwt-secret-file", f.SecretFile
	switch {
	case f.JWKSURL != "":
		keys, err := auth.NewJWKS(auth.JWKSConfig{URL: f.JWKSURL, Log: log, Metrics: reg})
		if err != nil {
			return nil, fmt.Errorf("--jwks-url: %w", err)
		}
		if len(f.JWTAudience) == 0 {
			log.Warn("tokens of this issuer are good here whatever service they were made for: --jwks-url without --jwt-audience")
		}
		d.keep("keys of tokens", keys.Run)
		d.ready = keys.Ready
		return keys, nil
	case f.JWTKey != "":
		open, flag, path = auth.OpenPublic, "--jwt-key", f.JWTKey
	case f.SecretFile == "":
		return nil, nil
	}
	keys, err := open(auth.FileConfig{File: path, Log: log, Metrics: files})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	d.keep("keys of tokens", keys.Run)
	return keys, nil
}
