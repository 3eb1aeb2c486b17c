//go:build sabotage

// Package safeguard, in a build that is meant to fail. See safeguard.go.
package safeguard

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// Variable is the environment variable that says what is taken off.
const Variable = "STENOBUS_SABOTAGE"

// What is taken off, as the constants of other builds explain. Written before main begins.
var (
	FenceOff      bool
	EpochOff      bool
	LifeOff       bool
	HolesOff      bool
	ResendOff     bool
	DuplicatesOff bool
	ScanOff       bool
	ApartOff      bool
)

// In no other build does anything run before main, or write where nobody asked: but this
// one must not be taken for another, and what it proves hangs on the names being right.
func init() {
	names := os.Getenv(Variable)
	if err := set(names); err != nil {
		fmt.Fprintln(os.Stderr, "stenobus:", err)
		os.Exit(2)
	}
	if names == "" {
		names = "nothing yet"
	}
	fmt.Fprintf(os.Stderr, "stenobus: THIS BUILD IS MEANT TO FAIL: taken off by %s: %s\n", Variable, names)
}

// set takes off what is named, and nothing if one of the names is wrong.
func set(names string) error {
	switches := map[string]*bool{
		"fence": &FenceOff, "epoch": &EpochOff, "life": &LifeOff,
		"holes": &HolesOff, "resend": &ResendOff, "duplicates": &DuplicatesOff,
		"scan": &ScanOff, "apart": &ApartOff,
	}
	var off []*bool
	for name := range strings.SplitSeq(names, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		s, ok := switches[name]
		if !ok {
			return fmt.Errorf("%s: %q is no safeguard, allowed are %s", Variable, name, strings.Join(slices.Sorted(maps.Keys(switches)), ", "))
		}
		off = append(off, s)
	}
	for _, s := range off {
		*s = true
	}
	return nil
}
