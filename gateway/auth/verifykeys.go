package auth

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"stenobus/gateway/reload"
)

const (
	minSecret   = 32   // bytes; RFC 7518, 3.2: no shorter than the hash of HS256
	minRSA      = 2048 // bits; RFC 7518, 3.3
	maxRSA      = 8192 // bits; a longer one only costs time
	maxKeyBytes = 64 << 10
)

// algorithms lists all that any key may be used with.
func algorithms() []string {
	return []string{
		"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
		"ES256", "ES384", "ES512", "EdDSA",
	}
}

// algsOf tells which algorithms a key is for (RFC 7518, 3.1; RFC 8037, 3.1).
func algsOf(key any) ([]string, error) {
	switch k := key.(type) {
	case []byte:
		return []string{"HS256", "HS384", "HS512"}, nil
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSA || n > maxRSA {
			return nil, fmt.Errorf("RSA key of %d bits, allowed are %d to %d", n, minRSA, maxRSA)
		}
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, nil
	case *ecdsa.PublicKey:
		switch k.Curve.Params().BitSize {
		case 256:
			return []string{"ES256"}, nil
		case 384:
			return []string{"ES384"}, nil
		case 521:
			return []string{"ES512"}, nil
		}
		return nil, errors.New("elliptic curve other than P-256, P-384 and P-521")
	case ed25519.PublicKey:
		return []string{"EdDSA"}, nil
	}
	return nil, errors.New("key that is neither RSA, nor ECDSA, nor Ed25519")
}

// FileConfig says where a key of tokens is. File is needed.
type FileConfig struct {
	File    string
	Log     *slog.Logger    // nil: no log
	Metrics *reload.Metrics // nil: none
	Every   time.Duration   // between two looks at the file; 0: 1 s
}

// KeyFile has the keys of a file, which is read again when it changes.
type KeyFile struct{ file *reload.Value[[]VerifyKey] }

// OpenSecret reads a file that holds the secret of HMAC tokens: all its bytes but the
// line ends around them.
func OpenSecret(cfg FileConfig) (*KeyFile, error) { return openKeyFile("jwt-secret", cfg, parseSecret) }

// OpenPublic reads a file of public keys or certificates in PEM: more than one while
// an issuer changes its key.
func OpenPublic(cfg FileConfig) (*KeyFile, error) { return openKeyFile("jwt-key", cfg, parsePublic) }

func openKeyFile(what string, cfg FileConfig, parse func([]byte) ([]VerifyKey, error)) (*KeyFile, error) {
	file, err := reload.Open(reload.Config[[]VerifyKey]{
		What: what, Paths: []string{cfg.File}, Log: cfg.Log, Metrics: cfg.Metrics, Every: cfg.Every,
		Read: func() ([]VerifyKey, error) {
			b, err := reload.ReadFile(cfg.File, maxKeyBytes)
			if err != nil {
				return nil, err
			}
			keys, err := parse(b)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", cfg.File, err)
			}
			return keys, nil
		},
	})
	if err != nil {
		return nil, err
	}
	return &KeyFile{file}, nil
}

// Run reads the file again when it changes, until ctx ends. Call it once.
func (f *KeyFile) Run(ctx context.Context) error { return f.file.Run(ctx) }

// VerifyKeys implements KeySource. These keys have no kid: any token is tried with them.
func (f *KeyFile) VerifyKeys(context.Context, string) ([]VerifyKey, error) { return f.file.Load(), nil }

func parseSecret(b []byte) ([]VerifyKey, error) {
	b = bytes.Trim(b, "\r\n")
	if bytes.HasPrefix(b, []byte("-----BEGIN")) {
		return nil, errors.New("holds a PEM block, want the secret of HMAC tokens; public keys go to a file of their own")
	}
	if len(b) < minSecret {
		return nil, fmt.Errorf("the secret has %d bytes, want %d or more (RFC 7518, 3.2)", len(b), minSecret)
	}
	algs, err := algsOf(b)
	return []VerifyKey{{Key: b, Algs: algs}}, err
}

func parsePublic(b []byte) ([]VerifyKey, error) {
	var keys []VerifyKey
	for n := 1; ; n++ {
		block, rest := pem.Decode(b)
		if block == nil {
			break
		}
		b = rest
		key, err := publicKey(block)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d: %w", n, err)
		}
		algs, err := algsOf(key)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d: %w", n, err)
		}
		keys = append(keys, VerifyKey{Key: key, Algs: algs})
	}
	if len(keys) == 0 || len(keys) > maxKeyTries {
		return nil, fmt.Errorf("%d keys, want 1 to %d public keys or certificates in PEM", len(keys), maxKeyTries)
	}
	return keys, nil
}

func publicKey(block *pem.Block) (any, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return c.PublicKey, nil
	}
	return nil, fmt.Errorf("%.32q is not allowed, allowed are PUBLIC KEY, RSA PUBLIC KEY and CERTIFICATE: a gateway needs no private key", block.Type)
}
