package audio

// oggStream is an Ogg stream cut into frames.
type oggStream struct {
	voice   *voice
	demux   *demuxer
	ends    []frameEnd // of frames that are not through
	taken   int64      // bytes of the stream that came
	through uint64
}

// frameEnd is where in the stream a frame ends.
type frameEnd struct {
	number uint64
	end    int64
}

func newOggStream(v *voice) *oggStream { return &oggStream{voice: v, demux: newDemuxer()} }

func (o *oggStream) decode(f frame) (Chunk, error) {
	o.taken += int64(len(f.data))
	o.remember(frameEnd{f.number, o.taken})
	o.voice.begin()
	err := o.demux.push(f.data, o)
	o.release(o.demux.held())
	return Chunk{PCM: o.voice.out, Through: o.through}, err
}

// remember notes a frame. Frames without a byte would make the list grow for ever; they
// are through when the one before them is.
func (o *oggStream) remember(e frameEnd) {
	if n := len(o.ends); n > 0 && o.ends[n-1].end == e.end {
		o.ends[n-1] = e
		return
	}
	o.ends = append(o.ends, e)
}

// release lets frames go that end before the first byte that is held back.
func (o *oggStream) release(held int64) {
	n := 0
	for n < len(o.ends) && o.ends[n].end <= held {
		o.through = o.ends[n].number
		n++
	}
	o.ends = o.ends[:copy(o.ends, o.ends[n:])]
}

// head implements sink.
func (o *oggStream) head(h opusHead) error {
	return o.voice.restart(h.preSkip, gainOf(h.gain))
}

// packet implements sink.
func (o *oggStream) packet(p []byte) error { return o.voice.decode(p) }
