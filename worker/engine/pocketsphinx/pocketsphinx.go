// Package pocketsphinx recognises US English offline, with CMU PocketSphinx. The
// library is opened at run time, so the program needs no C compiler; library and
// model are the Debian packages libpocketsphinx3 and pocketsphinx-en-us.
//
// It is here because it works at once and anywhere. It is no match for a large model.
//
// A decoder listens to one stream at a time and holds about 95 MB, so an Engine lends
// a bounded number of them; a stream keeps its decoder until it is closed.
package pocketsphinx

import (
	"context"
	"fmt"
	"runtime"

	"stenobus/worker"
)

// Config of an engine. The zero value works where the Debian packages are installed.
type Config struct {
	Library     string // name or path of the shared library; empty: libpocketsphinx.so.3
	Dir         string // model: en-us/, en-us.lm.bin, cmudict-en-us.dict; empty: Debian's place
	MaxDecoders int    // most streams at once; 0: two for each core
}

func (c Config) withDefaults() Config {
	if c.Library == "" {
		c.Library = libraryName
	}
	if c.Dir == "" {
		c.Dir = modelDir
	}
	if c.MaxDecoders == 0 {
		c.MaxDecoders = 2 * runtime.NumCPU()
	}
	return c
}

// Engine lends decoders to streams. Make it with New and close it after use.
type Engine struct {
	pool *pool
}

// New opens the library, checks the model and makes the first decoder, so that the
// first stream need not wait: some 0.4 s. What is missing is named in the error.
func New(cfg Config) (*Engine, error) {
	cfg = cfg.withDefaults()
	if cfg.MaxDecoders < 1 {
		return nil, fmt.Errorf("pocketsphinx: MaxDecoders is %d, allowed are 1 and more", cfg.MaxDecoders)
	}
	lib, err := openLibrary(cfg.Library)
	if err != nil {
		return nil, err
	}
	m, err := findModel(cfg.Dir)
	if err != nil {
		return nil, err
	}
	e := &Engine{pool: newPool(cfg.MaxDecoders, func() (*decoder, error) { return newDecoder(lib, m) })}
	first, err := e.pool.take(context.Background())
	if err != nil {
		return nil, err
	}
	e.pool.give(first)
	return e, nil
}

// Describe implements worker.Engine.
func (e *Engine) Describe() worker.Description {
	return worker.Description{Name: "pocketsphinx", Languages: []string{"en-US"}, SampleRate: rate, Scarce: true}
}

// Open implements worker.Engine. It waits for a free decoder until ctx ends. Of the
// options it knows endpointing and utterance_end_ms, see pauses.
func (e *Engine) Open(ctx context.Context, cfg worker.StreamConfig, emit func(worker.Result)) (worker.Stream, error) {
	d, err := e.pool.take(ctx)
	if err != nil {
		return nil, fmt.Errorf("wait for a decoder: %w", err)
	}
	if err := d.begin(); err != nil {
		e.pool.give(d)
		return nil, err
	}
	return &stream{pool: e.pool, decoder: d, emit: emit, pauses: pausesOf(cfg.Options)}, nil
}

// Close frees the decoders; those in use, when their streams are closed.
func (e *Engine) Close() error {
	e.pool.close()
	return nil
}
