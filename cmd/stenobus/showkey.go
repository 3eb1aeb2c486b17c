package main

import (
	"crypto/x509"
	"os"
	"strings"

	"stenobus/gateway/reload"
)

// keyVariable may hold a key or a token in place of a file. It is no flag: arguments show
// in process lists.
const keyVariable = "STENOBUS_KEY"

// clientFlags say who a client is to a gateway, and how it knows the gateway.
type clientFlags struct {
	KeyFile string `help:"File with the API key or token to show; by default the variable STENOBUS_KEY has it, if one is needed." placeholder:"FILE"`
	CA      string `name:"ca" help:"File with the certificates that the gateway's is checked against; by default those of the system." placeholder:"FILE"`
}

// key is what to show, empty: nothing.
func (f *clientFlags) key() (string, error) {
	source, text := keyVariable, os.Getenv(keyVariable)
	if f.KeyFile != "" {
		b, err := reload.ReadFile(f.KeyFile, 16<<10)
		if err != nil {
			return "", usageError("--key-file: %w", err)
		}
		source, text = "--key-file "+f.KeyFile, string(b)
		if strings.TrimSpace(text) == "" {
			return "", usageError("%s is empty", source)
		}
	}
	text = strings.TrimSpace(text)
	for _, c := range []byte(text) {
		if c <= ' ' || c > '~' {
			return "", usageError("%s: want one key or token, without spaces", source)
		}
	}
	return text, nil
}

// roots are nil where those of the system will do.
func (f *clientFlags) roots() (*x509.CertPool, error) {
	if f.CA == "" {
		return nil, nil
	}
	b, err := reload.ReadFile(f.CA, 4<<20)
	if err != nil {
		return nil, usageError("--ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, usageError("--ca %s: no certificate in PEM is in it", f.CA)
	}
	return pool, nil
}
