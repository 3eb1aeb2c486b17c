package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"stenobus/gateway/auth"
	"stenobus/gateway/reload"
)

// keysCmd keeps the file that a gateway's --auth-keys names.
type keysCmd struct {
	Add    keysAddCmd    `cmd:"" help:"Make a key, print it once and write its hash to the file."`
	List   keysListCmd   `cmd:"" help:"List whose keys a file has."`
	Remove keysRemoveCmd `cmd:"" help:"Take a client's keys out of the file."`
}

func (*keysCmd) Help() string {
	return `A file of API keys has one JSON object a line, with the key's hash in place of the key, and may be edited by hand: fields are name, sha256, sessions, providers, max_sessions and expires; lines that begin with # are comments. Gateways read it again within a second or two of a change. A key that was removed opens no connection from then on; sessions that run go on.

Examples:

    stenobus keys add bridge-1 --file keys > bridge-1.key
    stenobus keys add phones --file keys --session 'call-*' --provider pocketsphinx --max-sessions 20 --expires 720h
    stenobus keys list --file keys
    stenobus keys remove phones --file keys
`
}

// keysFile is the flag of all of them.
type keysFile struct {
	File string `help:"The file of keys." required:"" placeholder:"FILE" env:"STENOBUS_AUTH_KEYS"`
}

type keysAddCmd struct {
	Name string `arg:"" help:"The client's name: who it is in records and logs."`
	keysFile
	Session     []string      `help:"Session ids that it may use, with * for any characters; any by default." placeholder:"PATTERN" sep:"none"`
	Provider    []string      `help:"Engines that it may use, with * for any characters; any by default." placeholder:"NAME"`
	MaxSessions int           `help:"Most sessions that it may have at once on one gateway; by default as many as the gateway lets everyone have." placeholder:"N"`
	Expires     time.Duration `help:"How long the key is good; for ever by default." placeholder:"DURATION"`
	Another     bool          `help:"Add a key to one that this client has: to exchange it, add the new one, let the client take it, and remove the old one by --id."`
}

func (*keysAddCmd) Help() string {
	return `The key goes to standard output and is kept nowhere: only its hash is.

Examples:

    stenobus keys add bridge-1 --file keys > bridge-1.key
    stenobus keys add phones --file keys --session 'call-*' --max-sessions 20 --expires 720h
`
}

// Validate is called by the parser.
func (c *keysAddCmd) Validate() error {
	if c.Expires < 0 || c.MaxSessions < 0 {
		return errors.New("--expires and --max-sessions can't be below 0")
	}
	return nil
}

func (c *keysAddCmd) Run(p *program) error {
	secret := auth.NewSecret()
	key := auth.Key{
		Principal: auth.Principal{Name: c.Name, Sessions: c.Session, Providers: c.Provider, MaxSessions: c.MaxSessions},
		Hash:      auth.HashSecret(secret),
	}
	if c.Expires > 0 {
		key.Expires = time.Now().Add(c.Expires).UTC().Truncate(time.Second)
	}
	err := editKeys(c.File, func(file []byte) ([]byte, error) {
		keys, err := auth.ParseKeys(file)
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			if k.Name == c.Name && !c.Another {
				return nil, fmt.Errorf("%q has a key already: remove it, or say --another", c.Name)
			}
		}
		return auth.WithKey(file, key)
	})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(p.stdout, secret); err != nil {
		return fmt.Errorf("print the key, which is now in %s and known to nobody: %w", c.File, err)
	}
	fmt.Fprintf(p.stderr, "added key %s of %q to %s; it is shown this once\n", key.ID(), c.Name, c.File)
	return nil
}

type keysListCmd struct{ keysFile }

func (*keysListCmd) Help() string {
	return `ID is the beginning of a key's hash.

Example:

    stenobus keys list --file keys
`
}

func (c *keysListCmd) Run(p *program) error {
	file, err := readKeys(c.File)
	if err != nil {
		return err
	}
	keys, err := auth.ParseKeys(file)
	if err != nil {
		return usageError("%s: %w", c.File, err)
	}
	return printKeys(p.stdout, keys, time.Now())
}

func printKeys(w io.Writer, keys []auth.Key, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tID\tSESSIONS\tPROVIDERS\tMOST\tEXPIRES")
	for _, k := range keys {
		most, expires := "-", "-"
		if k.MaxSessions > 0 {
			most = fmt.Sprint(k.MaxSessions)
		}
		if !k.Expires.IsZero() {
			expires = k.Expires.Format(time.RFC3339)
			if !now.Before(k.Expires) {
				expires += " (expired)"
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", k.Name, k.ID(), orAny(k.Sessions), orAny(k.Providers), most, expires)
	}
	return t.Flush()
}

// orAny shows a list of which an empty one means everything.
func orAny(list []string) string {
	if len(list) == 0 {
		return "any"
	}
	return strings.Join(list, ",")
}

type keysRemoveCmd struct {
	Name string `arg:"" help:"The client's name."`
	keysFile
	ID string `name:"id" help:"Only the key whose hash begins so, as in the list." placeholder:"HEX"`
}

func (*keysRemoveCmd) Help() string {
	return `Gateways let nobody in by the key a second or two later. Sessions that it began go on.

Examples:

    stenobus keys remove phones --file keys
    stenobus keys remove phones --file keys --id 9f86d081
`
}

func (c *keysRemoveCmd) Run(p *program) error {
	n := 0
	err := editKeys(c.File, func(file []byte) ([]byte, error) {
		rest, removed, err := auth.WithoutKeys(file, func(k auth.Key) bool {
			return k.Name == c.Name && strings.HasPrefix(hex.EncodeToString(k.Hash[:]), strings.ToLower(c.ID))
		})
		if err == nil && len(removed) == 0 {
			err = fmt.Errorf("no such key of %q", c.Name)
		}
		n = len(removed)
		return rest, err
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stderr, "removed %s of %q from %s\n", count(n, "key"), c.Name, c.File)
	return nil
}

const maxKeysFile = 8 << 20 // bytes, as in gateways

func readKeys(path string) ([]byte, error) {
	b, err := reload.ReadFile(path, maxKeysFile)
	if err != nil {
		return nil, usageError("--file: %w", err)
	}
	return b, nil
}

// editKeys changes a file of keys in one step: whoever reads it meets the old one or the
// new one, and of two who change it at once one is refused.
func editKeys(path string, change func([]byte) ([]byte, error)) error {
	if target, err := os.Readlink(path); err == nil {
		return usageError("--file: %s is a link: name the file itself, %s", path, target)
	}
	fresh := path + ".new" // in the same directory, or it could not take the file's place
	f, err := os.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there: the keys are being changed by another command, or one was killed in the middle; if so, remove it", fresh)
	}
	if err != nil {
		return usageError("--file: %w", err)
	}
	err = writeKeys(f, path, change)
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(fresh))
	}
	return nil
}

func writeKeys(f *os.File, path string, change func([]byte) ([]byte, error)) error {
	defer f.Close() // the second time where all went well
	var old []byte
	info, err := os.Stat(path)
	if err == nil {
		keepOwner(f, info)
		if old, err = readKeys(path); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return usageError("--file: %w", err)
	}
	text, err := change(old)
	if err != nil {
		return usageError("%s: %w", path, err)
	}
	if _, err := f.Write(text); err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
