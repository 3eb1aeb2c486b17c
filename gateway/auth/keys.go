package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"stenobus/gateway/reload"
)

// KeysConfig says where the keys are. File is needed.
type KeysConfig struct {
	File    string
	Log     *slog.Logger     // nil: no log
	Metrics *reload.Metrics  // nil: none
	Now     func() time.Time // nil: time.Now
	Every   time.Duration    // between two looks at the file; 0: 1 s
}

// Keys knows clients by the API keys of a file, which is read again when it changes. A
// key that was taken out opens no connection from then on; sessions that run go on,
// because they were allowed when they began, and end as their clients end them.
type Keys struct {
	now  func() time.Time
	file *reload.Value[map[[sha256.Size]byte]Key]
}

// OpenKeys reads the file, which must be there and right.
func OpenKeys(cfg KeysConfig) (*Keys, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	file, err := reload.Open(reload.Config[map[[sha256.Size]byte]Key]{
		What: "auth-keys", Paths: []string{cfg.File}, Log: cfg.Log, Metrics: cfg.Metrics, Every: cfg.Every,
		Read: func() (map[[sha256.Size]byte]Key, error) { return readKeys(cfg.File) },
	})
	if err != nil {
		return nil, err
	}
	return &Keys{cfg.Now, file}, nil
}

func readKeys(path string) (map[[sha256.Size]byte]Key, error) {
	b, err := reload.ReadFile(path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	list, err := ParseKeys(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	keys := make(map[[sha256.Size]byte]Key, len(list))
	for _, k := range list {
		keys[k.Hash] = k
	}
	return keys, nil
}

// Run reads the file again when it changes, until ctx ends. Call it once.
func (k *Keys) Run(ctx context.Context) error { return k.file.Run(ctx) }

// Authenticate implements Authenticator. The time that a look into the map takes depends
// on hashes alone, and to know how a hash begins helps nobody to find its key.
func (k *Keys) Authenticate(_ context.Context, secret string) (Principal, error) {
	if !isSecret(secret) {
		if strings.HasPrefix(secret, keyPrefix) {
			return Principal{}, known(errors.New("the API key is not whole"))
		}
		return Principal{}, errOther
	}
	key, ok := k.file.Load()[HashSecret(secret)]
	switch {
	case !ok:
		return Principal{}, known(errors.New("the API key is not known here"))
	case !key.Expires.IsZero() && !k.now().Before(key.Expires):
		return Principal{}, known(errors.New("the API key has expired"))
	}
	return key.Principal, nil
}
