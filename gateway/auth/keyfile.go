package auth

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// A file of keys has one JSON object a line, and lines that are empty or begin with #.
// One line a key makes adding and removing an edit of one line, by hand or by program,
// which leaves everybody's comments alone: a file in TOML or YAML would lose them, or
// need a library that does not.
const (
	maxKeyFile = 8 << 20  // bytes
	maxKeyLine = 32 << 10 // bytes
	maxFaults  = 10       // that one error lists
)

// keyPrefix makes a key recognisable, to people and to scanners for leaked secrets.
const keyPrefix = "stb_"

const (
	keyBytes   = 32
	secretSize = len(keyPrefix) + 43 // of keyBytes in unpadded base64url
)

// Key is a line of a file of keys: who has the key, and what he may do with it.
type Key struct {
	Principal
	Hash    [sha256.Size]byte
	Expires time.Time // zero: never
}

// NewSecret makes an API key of 256 random bits.
func NewSecret() string {
	b := make([]byte, keyBytes)
	_, _ = rand.Read(b) // never fails, see crypto/rand
	return keyPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// HashSecret is what the file knows of a key. One round of SHA-256 is enough, and no salt
// is needed: keys are not chosen by people but are 256 random bits, so there is nothing
// to guess, and a slow hash would only let strangers cost the gateway time.
func HashSecret(secret string) [sha256.Size]byte { return sha256.Sum256([]byte(secret)) }

// ID names a key in lists: the beginning of its hash.
func (k Key) ID() string { return hex.EncodeToString(k.Hash[:4]) }

// ParseKeys reads a file of keys. An error names every bad line and its field, and holds
// nothing of their values.
func ParseKeys(file []byte) ([]Key, error) {
	var keys []Key
	var errs []error
	lineOf := map[[sha256.Size]byte]int{}
	n := 0
	for line := range bytes.Lines(file) {
		n++
		line = bytes.TrimSpace(line)
		if blank(line) {
			continue
		}
		k, err := parseKey(line)
		if first, twice := lineOf[k.Hash]; err == nil && twice {
			err = fmt.Errorf("field sha256: the same as in line %d", first)
		}
		if err != nil {
			if errs = append(errs, fmt.Errorf("line %d: %w", n, err)); len(errs) == maxFaults {
				break
			}
			continue
		}
		lineOf[k.Hash] = n
		keys = append(keys, k)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return keys, nil
}

func blank(line []byte) bool { return len(line) == 0 || line[0] == '#' }

func parseKey(line []byte) (Key, error) {
	var k Key
	if len(line) > maxKeyLine {
		return k, fmt.Errorf("more than %d bytes", maxKeyLine)
	}
	seen, err := fieldsOf(line, k.field)
	if err != nil {
		return Key{}, err
	}
	for _, need := range []string{"name", "sha256"} {
		if !slices.Contains(seen, need) {
			return Key{}, fmt.Errorf("field %s is missing", need)
		}
	}
	return k, nil
}

// fieldsOf gives each field of a JSON object to a reader, and refuses one that is there
// twice: of two limits the reader of the file may have seen the other.
func fieldsOf(object []byte, read func(field string, value json.RawMessage) error) (seen []string, err error) {
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("want a JSON object")
	}
	for d.More() {
		t, err := d.Token()
		field, ok := t.(string)
		if err != nil || !ok {
			return nil, errors.New("want a JSON object")
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, fmt.Errorf("field %.32q: not JSON", field)
		}
		if slices.Contains(seen, field) {
			return nil, fmt.Errorf("field %.32q is there twice", field)
		}
		seen = append(seen, field)
		if err := read(field, value); err != nil {
			return nil, err
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, errors.New("want a JSON object, its end is missing")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("want one JSON object, something follows it")
	}
	return seen, nil
}

func (k *Key) field(field string, value json.RawMessage) error {
	switch field {
	case "name":
		if json.Unmarshal(value, &k.Name) != nil || !printable(k.Name, MaxName) {
			return fmt.Errorf("field name: want a text of 1 to %d bytes without control characters", MaxName)
		}
		return nil
	case "sha256":
		var text string
		_ = json.Unmarshal(value, &text)
		hash, err := hex.DecodeString(text)
		if err != nil || len(hash) != len(k.Hash) {
			return fmt.Errorf("field sha256: want %d hexadecimal digits, the SHA-256 of the key", 2*len(k.Hash))
		}
		k.Hash = [sha256.Size]byte(hash)
		return nil
	case "expires":
		if json.Unmarshal(value, &k.Expires) != nil || k.Expires.IsZero() {
			return errors.New("field expires: want a time such as 2031-12-24T18:00:00Z")
		}
		return nil
	}
	if ok, err := k.limits(field, value); ok {
		return err
	}
	return fmt.Errorf("field %.32q is unknown, allowed are name, sha256, sessions, providers, max_sessions, expires", field)
}

// Line is the key as a line of a file, its end included. It fails where ParseKeys would.
func (k Key) Line() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(struct {
		Name        string    `json:"name"`
		SHA256      string    `json:"sha256"`
		Sessions    []string  `json:"sessions,omitempty"`
		Providers   []string  `json:"providers,omitempty"`
		MaxSessions int       `json:"max_sessions,omitempty"`
		Expires     time.Time `json:"expires,omitzero"`
	}{k.Name, hex.EncodeToString(k.Hash[:]), k.Sessions, k.Providers, k.MaxSessions, k.Expires})
	if err != nil {
		return nil, err
	}
	if _, err := parseKey(bytes.TrimSpace(b.Bytes())); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// WithKey adds a line to a file of keys.
func WithKey(file []byte, k Key) ([]byte, error) {
	line, err := k.Line()
	if err != nil {
		return nil, err
	}
	if n := len(file); n > 0 && file[n-1] != '\n' {
		file = append(slices.Clip(file), '\n')
	}
	return append(slices.Clip(file), line...), nil
}

// WithoutKeys leaves out the lines whose keys are to go. All else stays as it is.
func WithoutKeys(file []byte, gone func(Key) bool) (rest []byte, removed []Key, err error) {
	if _, err := ParseKeys(file); err != nil {
		return nil, nil, err
	}
	for line := range bytes.Lines(file) {
		if text := bytes.TrimSpace(line); !blank(text) {
			if k, _ := parseKey(text); gone(k) {
				removed = append(removed, k)
				continue
			}
		}
		rest = append(rest, line...)
	}
	return rest, removed, nil
}

// isSecret tells whether a text has the form of our keys.
func isSecret(text string) bool {
	return len(text) == secretSize && strings.HasPrefix(text, keyPrefix)
}
