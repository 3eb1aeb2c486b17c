// Package samples holds the speech that demonstrations and tests are made with, and
// what it says. make.sh made it with synthetic voices.
package samples

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed *.ogg *.wav *.txt
var files embed.FS

// Sample is a few sentences of spoken English.
type Sample struct {
	Name  string // of the file, without its ending
	Audio []byte // the whole file: Ogg-Opus, or WAV with 16-bit samples
	Text  string // what is said
}

// All returns the samples in the order of their names. The caller may keep them.
func All() []Sample {
	names, err := files.ReadDir(".")
	if err != nil {
		panic(fmt.Sprintf("samples: %v", err)) // cannot be: it is part of the program
	}
	var all []Sample
	for _, entry := range names {
		name, ending, _ := strings.Cut(entry.Name(), ".")
		if ending == "txt" {
			continue
		}
		all = append(all, Sample{
			Name:  name,
			Audio: read(entry.Name()),
			Text:  strings.TrimSpace(string(read(name + ".txt"))),
		})
	}
	return all
}

func read(name string) []byte {
	b, err := files.ReadFile(name)
	if err != nil {
		panic(fmt.Sprintf("samples: %v", err)) // samples_test.go reads every file
	}
	return b
}
