package pocketsphinx

import (
	"fmt"
	"unsafe"

	"github.com/ebitengine/purego"
)

// library holds the C functions in use. Handles of C objects are unsafe.Pointer so
// that nobody converts integers to pointers.
type library struct {
	setLog func(file unsafe.Pointer)

	args      func() unsafe.Pointer
	parse     func(inout, defs unsafe.Pointer, argc int32, argv unsafe.Pointer, strict int32) unsafe.Pointer
	freeArgs  func(args unsafe.Pointer) int32
	init      func(args unsafe.Pointer) unsafe.Pointer
	free      func(ps unsafe.Pointer) int32
	logmath   func(ps unsafe.Pointer) unsafe.Pointer
	exp       func(logmath unsafe.Pointer, logp int32) float64
	feat      func(ps unsafe.Pointer) *feat
	newStream func(ps unsafe.Pointer) int32
	startUtt  func(ps unsafe.Pointer) int32
	endUtt    func(ps unsafe.Pointer) int32
	hyp       func(ps, score unsafe.Pointer) string

	segments  func(ps unsafe.Pointer) unsafe.Pointer
	next      func(seg unsafe.Pointer) unsafe.Pointer
	word      func(seg unsafe.Pointer) string
	segFrames func(seg, first, last unsafe.Pointer)
	segProb   func(seg, acoustic, language, backoff unsafe.Pointer) int32

	// Called for every piece of audio, so by address: a call through a func value
	// allocates.
	process  uintptr
	inSpeech uintptr
}

// openLibrary loads the library into the process, where it stays: nothing could tell
// when its last function has returned.
func openLibrary(name string) (*library, error) {
	handle, err := dlopen(name)
	if err != nil {
		return nil, fmt.Errorf("pocketsphinx: open library %s: %w; %s", name, err, install)
	}
	lib := &library{}
	for symbol, function := range lib.symbols() {
		address, err := dlsym(handle, symbol)
		if err != nil {
			return nil, fmt.Errorf("pocketsphinx: library %s has no function %s: %w; %s", name, symbol, err, install)
		}
		if direct, ok := function.(*uintptr); ok {
			*direct = address
			continue
		}
		purego.RegisterFunc(function, address)
	}
	// Off for the whole process. The option -logfn would open and close one file of
	// the library's for every decoder, under the feet of those that are at work.
	lib.setLog(nil)
	return lib, nil
}

func (l *library) symbols() map[string]any {
	return map[string]any{
		"err_set_logfp": &l.setLog,

		"ps_args":         &l.args,
		"cmd_ln_parse_r":  &l.parse,
		"cmd_ln_free_r":   &l.freeArgs,
		"ps_init":         &l.init,
		"ps_free":         &l.free,
		"ps_get_logmath":  &l.logmath,
		"logmath_exp":     &l.exp,
		"ps_get_feat":     &l.feat,
		"ps_start_stream": &l.newStream,
		"ps_start_utt":    &l.startUtt,
		"ps_end_utt":      &l.endUtt,
		"ps_get_hyp":      &l.hyp,

		"ps_seg_iter":   &l.segments,
		"ps_seg_next":   &l.next,
		"ps_seg_word":   &l.word,
		"ps_seg_frames": &l.segFrames,
		"ps_seg_prob":   &l.segProb,

		"ps_process_raw":   &l.process,
		"ps_get_in_speech": &l.inSpeech,
	}
}

// feat is the head of feat_t, as the library's public header feat.h declares it.
type feat struct {
	_         int32 // reference count
	_         unsafe.Pointer
	cepSize   int32
	streams   int32
	_         unsafe.Pointer
	window    int32
	_         int32
	_, _, _   unsafe.Pointer
	_         int32
	_         int32
	_, _      int32
	_         unsafe.Pointer
	cmnStruct *cmn
}

// cmn is cmn_t of cmn.h: the running mean of the cepstra that is subtracted from them,
// which is what a decoder learns of a speaker's channel.
type cmn struct {
	mean, _, sum *float32
	frames       int32
	size         int32
}
