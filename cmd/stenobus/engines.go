package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"stenobus/worker"
	"stenobus/worker/engine/pocketsphinx"
	"stenobus/worker/engine/tally"
)

// engineFlags choose what turns speech into text.
type engineFlags struct {
	Engine []string `help:"Engines: ${engines}. With several, a session gets the one it asks for, or the first." placeholder:"NAME" default:"pocketsphinx" group:"Engines"`

	PocketsphinxModel    string `help:"Directory of the model: en-us/, en-us.lm.bin and cmudict-en-us.dict; by default where Debian's package puts them." placeholder:"DIR" group:"Engine pocketsphinx, offline"`
	PocketsphinxLibrary  string `help:"Name or path of the shared library; by default libpocketsphinx.so.3." placeholder:"FILE" group:"Engine pocketsphinx, offline"`
	PocketsphinxDecoders int    `help:"Most sources at once, about 120 MB each; by default 4 a core." placeholder:"N" group:"Engine pocketsphinx, offline"`

	TallyEvery   int           `help:"Frames to a final." default:"50" group:"Engine tally, a measuring instrument"`
	TallyInterim int           `help:"Frames to an interim; below 0: none." default:"10" group:"Engine tally, a measuring instrument"`
	TallySlow    time.Duration `help:"Time spent on each frame." default:"0s" group:"Engine tally, a measuring instrument"`
	TallyHold    time.Duration `help:"How long each final is held back." default:"0s" group:"Engine tally, a measuring instrument"`
	TallyStamp   bool          `help:"Say in each final when its last frame came." group:"Engine tally, a measuring instrument"`
	TallyFailAt  uint64        `help:"Number of the frame on which a stream fails; 0: none." default:"0" group:"Engine tally, a measuring instrument"`
	TallyFails   int64         `help:"How often it fails in all; 0: every time." default:"0" group:"Engine tally, a measuring instrument"`
}

// engineMaker makes an engine as the flags want it.
type engineMaker func(*engineFlags) (worker.Engine, error)

// engineNames lists the makers in the order in which help shows them.
var engineNames = []string{"pocketsphinx", "tally"}

var engineMakers = map[string]engineMaker{
	"pocketsphinx": newPocketsphinx,
	"tally":        newTally,
}

// What a core can recognise at the speed of speech, with room to spare: sessions, and
// sources of sessions.
const (
	slotsPerCore    = 2
	decodersPerCore = 4
)

func newPocketsphinx(f *engineFlags) (worker.Engine, error) {
	decoders := f.PocketsphinxDecoders
	if decoders == 0 {
		decoders = decodersPerCore * runtime.NumCPU()
	}
	return pocketsphinx.New(pocketsphinx.Config{
		Library: f.PocketsphinxLibrary, Dir: f.PocketsphinxModel, MaxDecoders: decoders,
	})
}

func newTally(f *engineFlags) (worker.Engine, error) {
	e, err := tally.New(tally.Config{
		Every: f.TallyEvery, Interim: f.TallyInterim, Slow: f.TallySlow, Hold: f.TallyHold, Stamp: f.TallyStamp, FailAt: f.TallyFailAt, Fails: f.TallyFails,
	})
	if err != nil {
		return nil, usageError("%w", err)
	}
	return e, nil
}

// local tells whether an engine recognises on this machine's own cores.
func (f *engineFlags) local() bool { return slices.Contains(f.Engine, "pocketsphinx") }

// engineSet is what a worker works with.
type engineSet []worker.Engine

// close frees what the engines hold. Their worker must have ended.
func (s engineSet) close() {
	for _, e := range s {
		if c, ok := e.(io.Closer); ok {
			_ = c.Close() // nothing is left to be lost
		}
	}
}

// engines makes what --engine names. The caller closes it.
func (f *engineFlags) engines() (engineSet, error) {
	var set engineSet
	for _, name := range f.Engine {
		newEngine, ok := engineMakers[name]
		if !ok {
			set.close()
			return nil, usageError("--engine %s: no such engine, there are %s", name, strings.Join(engineNames, ", "))
		}
		e, err := newEngine(f)
		if err != nil {
			set.close()
			return nil, fmt.Errorf("--engine %s: %w", name, err)
		}
		set = append(set, e)
	}
	if len(set) == 0 {
		return nil, usageError("--engine: name at least one of %s", strings.Join(engineNames, ", "))
	}
	return set, nil
}
