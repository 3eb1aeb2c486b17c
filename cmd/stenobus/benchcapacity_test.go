package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"stenobus/cmd/stenobus/internal/capacity"
)

// shippedFigures are those behind the README.
const shippedFigures = "internal/capacity/testdata/figures.json"

// What it prints it can read again, with other assumptions, and comes to the same. That it
// measures is seen by .ci/capacity: it starts three clusters, too many beside every other test.
func TestBenchCapacity(t *testing.T) {
	t.Parallel()
	first := invoke(t, "bench", "capacity", "--figures", shippedFigures, "--json")
	first.check(t, exitOK)
	var r capacity.Report
	d := json.NewDecoder(strings.NewReader(first.stdout))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatalf("%v\n%s", err, first.stdout)
	}
	if err := r.Figures.Validate(); err != nil || len(r.Plans) != 3 || r.Plans[2].Sessions != 1_000_000 || len(r.Limits) == 0 {
		t.Errorf("%v in %+v", err, r)
	}
	file := filepath.Join(t.TempDir(), "figures.json")
	if err := os.WriteFile(file, []byte(first.stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	if again := invoke(t, "bench", "capacity", "--figures", file, "--json"); again.code != exitOK || again.stdout != first.stdout {
		t.Errorf("from its own figures: %+v", again)
	}
	invoke(t, "bench", "capacity", "--figures", file, "--sessions", "5000,6000", "--speakers", "3").
		check(t, exitOK, "speakers a session 3", "5,000", "6,000", "what splits first")
}

func TestBenchCapacityDefaults(t *testing.T) {
	t.Parallel()
	var c benchCapacityCmd
	k, err := kong.New(&c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Parse(nil); err != nil {
		t.Fatal(err)
	}
	if c.usage() != capacity.DefaultUsage() {
		t.Errorf("the flags assume %+v, the model %+v", c.usage(), capacity.DefaultUsage())
	}
}

func TestBenchCapacityUsage(t *testing.T) {
	t.Parallel()
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, []byte(`{"figures":{"machine_cores":0}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"--sessions is out of range":          {"--sessions", "0"},
		"--busy is 2, want 0.01 to 1":         {"--busy", "2"},
		"--cell-servers is 1, want 3 to 1000": {"--cell-servers", "1"},
		"--load is out of range":              {"--load", "0"},
		"--share is measured":                 {"--share", "60ms", "--figures", shippedFigures},
		"figure machine_cores is 0":           {"--figures", bad},
		"--duration is out of range":          {"--duration", "1h"},
		"--results-age is 0 s, want 1 to":     {"--results-age", "0s"},
	} {
		invoke(t, append([]string{"bench", "capacity"}, args...)...).check(t, exitUsage, want)
	}
}
