package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/MicahParks/jwkset"
)

// parseSet reads a set. A key of an unknown kind, or one that is not for signatures, is
// left out (RFC 7517, 5), and so is a secret one: it does not belong in public. A set of
// which nothing is left is an error.
func parseSet(body []byte) ([]VerifyKey, error) {
	if len(body) > maxSetBytes {
		return nil, fmt.Errorf("the set has more than %d bytes", maxSetBytes)
	}
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &raw); err != nil {
		return nil, errors.New("the answer is no set of keys (RFC 7517): not JSON, or keys is no list")
	}
	if len(raw.Keys) > maxSetKeys {
		return nil, fmt.Errorf("the set has %d keys, allowed are %d", len(raw.Keys), maxSetKeys)
	}
	var keys []VerifyKey
	var why error
	for i, one := range raw.Keys {
		k, err := parseJWK(one)
		if err != nil {
			why = fmt.Errorf("key %d: %w", i+1, err)
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.Join(fmt.Errorf("the set has %d keys and none that tokens can be checked with", len(raw.Keys)), why)
	}
	return keys, nil
}

func parseJWK(raw json.RawMessage) (VerifyKey, error) {
	var m jwkset.JWKMarshal
	if json.Unmarshal(raw, &m) != nil {
		return VerifyKey{}, errors.New("not an object with the fields of a key")
	}
	if m.USE != "" && m.USE != jwkset.UseSig {
		return VerifyKey{}, errors.New("field use: not for signatures")
	}
	if len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify) {
		return VerifyKey{}, errors.New("field key_ops: not for checking signatures")
	}
	// Only what makes the public key: certificates are not looked at, so x5u is fetched by nobody.
	m = jwkset.JWKMarshal{KTY: m.KTY, ALG: m.ALG, KID: m.KID, CRV: m.CRV, X: m.X, Y: m.Y, N: m.N, E: m.E}
	if m.KTY == jwkset.KtyOct {
		return VerifyKey{}, errors.New("field kty: a secret key in public")
	}
	jwk, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return VerifyKey{}, err
	}
	return verifyKey(m, jwk.Key())
}

func verifyKey(m jwkset.JWKMarshal, key any) (VerifyKey, error) {
	switch key.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
	default:
		return VerifyKey{}, errors.New("field kty: not a public key that checks signatures")
	}
	algs, err := algsOf(key)
	if err != nil {
		return VerifyKey{}, err
	}
	if m.ALG != "" {
		if !slices.Contains(algs, string(m.ALG)) {
			return VerifyKey{}, fmt.Errorf("field alg: %.16q does not belong to such a key", string(m.ALG))
		}
		algs = []string{string(m.ALG)}
	}
	return VerifyKey{ID: m.KID, Key: key, Algs: algs}, nil
}
