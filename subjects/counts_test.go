package subjects_test

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"testing"

	"stenobus/subjects"
)

// Counts are on the wire what a plain map is, whoever writes and whoever reads.
func TestCountsAreAPlainMap(t *testing.T) {
	t.Parallel()
	for _, tt := range []map[uint32]uint64{
		nil, {}, {0: 0}, {1: 98, 2: 88}, {10: 1, 9: 2, 200: 3, 1: 4},
		{math.MaxUint32: math.MaxUint64, 999999999: 999999999999999999, 1000000000: 1000000000000000000},
	} {
		checkCounts(t, tt)
	}
	for _, tt := range []map[uint32]int64{
		nil, {}, {1: 0, 2: -1}, {7: math.MinInt64, 8: math.MaxInt64},
	} {
		checkCounts(t, tt)
	}
}

// checkCounts writes and reads in both ways, each after the other.
func checkCounts[V uint64 | int64](t *testing.T, plain map[uint32]V) {
	t.Helper()
	written, err := json.Marshal(subjects.Counts[V](plain))
	if err != nil {
		t.Fatal(err)
	}
	var back map[uint32]V
	if err := json.Unmarshal(written, &back); err != nil || !reflect.DeepEqual(back, plain) {
		t.Errorf("%v is written %s, a map reads %v, %v", plain, written, back, err)
	}
	other, err := json.Marshal(plain)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{written, other} {
		var c subjects.Counts[V]
		if err := json.Unmarshal(b, &c); err != nil || !reflect.DeepEqual(c, subjects.Counts[V](plain)) {
			t.Errorf("%s is read %v, %v", b, c, err)
		}
	}
}

func TestCountsInOrder(t *testing.T) {
	t.Parallel()
	got, err := json.Marshal(subjects.Counts[int64]{10: 5, 9: -2, 1: 7})
	if want := `{"1":7,"9":-2,"10":5}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

// Whatever comes, Counts read it as a plain map does, or refuse it as that does.
func FuzzCounts(f *testing.F) {
	for _, s := range []string{
		`null`, `{}`, `{"1":2}`, `{"1":2,"3":4}`, ` { "1" : 2 , "3":4 } `, `{"1":2,}`, `{,"1":2}`, `{"1":2 "3":4}`, `{"1":2,"1":3}`,
		`{"01":2}`, `{"1":02}`, `{"":1}`, `{"1":}`, `{"-1":1}`, `{"1":-1}`, `{"1":1e3}`, `{"1":1.5}`, `{"1":null}`, `{"1":"2"}`, `{"\u0031":2}`,
		`{"4294967295":1}`, `{"4294967296":1}`, `{"999999999":1}`, `{"1":18446744073709551615}`, `{"1":18446744073709551616}`,
		`{"1":9223372036854775807}`, `{"1":9223372036854775808}`, `{"1":999999999999999999}`, `[]`, `"x"`, `{`, `}`, `{"1"`, `{"1":2`, `{{}}`, ``,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		readAlike[uint64](t, b)
		readAlike[int64](t, b)
	})
}

// readAlike compares both readers, alone and as part of a message.
func readAlike[V uint64 | int64](t *testing.T, b []byte) {
	t.Helper()
	var c, direct subjects.Counts[V]
	var plain map[uint32]V
	wrong := json.Unmarshal(b, &plain)
	if err := json.Unmarshal(b, &c); (err == nil) != (wrong == nil) || err == nil && !reflect.DeepEqual(c, subjects.Counts[V](plain)) {
		t.Fatalf("%q: read %v, %v; a map reads %v, %v", b, c, err, plain, wrong)
	}
	if err := direct.UnmarshalJSON(b); (err == nil) != (wrong == nil) || err == nil && !reflect.DeepEqual(direct, c) {
		t.Fatalf("%q: read at once %v, %v; a map reads %v, %v", b, direct, err, plain, wrong)
	}
}

// A result costs what its life has sources: all of them are counted in it.
func BenchmarkResult(b *testing.B) {
	for _, sources := range []uint32{1, 20, 200} {
		f := subjects.Final{
			Progress: subjects.Progress{
				Begin: 40, Finals: 3, SourcesAt: 51, Covered: map[uint32]uint64{}, Frames: map[uint32]uint64{}, Packets: map[uint32]int64{},
			},
			Utterance: subjects.Utterance{Source: 1, Name: "alice", Utterance: "12.2.1.3", Text: "good morning", FirstFrame: 93, LastFrame: 98},
			Number:    3,
		}
		for n := range sources {
			f.Covered[n+1], f.Frames[n+1], f.Packets[n+1] = uint64(100000+n), 5000, int64(5000+n)
		}
		text := subjects.Encode(f)
		b.Run(fmt.Sprintf("encode/sources=%d", sources), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				subjects.Encode(f)
			}
		})
		b.Run(fmt.Sprintf("decode/sources=%d", sources), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := subjects.Decode[subjects.Final](subjects.KindFinal, text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Fleets of thousands report every two seconds.
func BenchmarkDecodeDoc(b *testing.B) {
	text := subjects.Encode(subjects.WorkerReport{
		V: 1, Worker: "w1", Engines: []subjects.EngineReport{{Name: "pocketsphinx", Languages: []string{"en"}}},
		Labels: map[string]string{"zone": "eu"}, Cell: "east", Slots: 10, Sessions: 4, Version: "0.1.0", Since: "2026-11-24T09:00:00Z",
	})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := subjects.DecodeDoc[subjects.WorkerReport]("worker report", text); err != nil {
			b.Fatal(err)
		}
	}
}
