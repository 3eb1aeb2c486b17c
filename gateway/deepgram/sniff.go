package deepgram

import "bytes"

// sniffer finds out what a stream is whose client did not say so.
type sniffer struct{ head []byte }

const sniffed = 12 // bytes that tell every container

func (s *sniffer) take(data []byte, r *reader) {
	s.head = append(s.head, data...)
	switch {
	case bytes.HasPrefix(s.head, []byte(oggMagic)):
		r.input = &oggPages{}
	case bytes.HasPrefix(s.head, []byte(riffMagic)):
		r.input = &wav{}
	default:
		if kind := container(s.head); kind != "" {
			r.refuse("%s is not read here", kind)
		} else if len(s.head) >= sniffed {
			r.refuse("the audio begins with no known container, and no encoding was given")
		}
		return
	}
	r.input.take(s.head, r)
}

func (s *sniffer) rest(r *reader) {
	r.cutOff(len(s.head), "beginning of a container")
	s.head = nil
}

// container names what browsers and tools send most and is not read here.
func container(head []byte) string {
	for _, c := range []struct {
		at    int
		magic string
		name  string
	}{
		{0, "\x1a\x45\xdf\xa3", "WebM"},
		{0, "fLaC", "FLAC"},
		{0, "ID3", "MP3"},
		{0, "\xff\xfb", "MP3"},
		{0, "\xff\xf3", "MP3"},
		{0, "\xff\xf1", "AAC"},
		{0, "#!AMR", "AMR"},
		{0, "FORM", "AIFF"},
		{0, ".snd", "AU"},
		{0, "caff", "CAF"},
		{4, "ftyp", "MP4"},
	} {
		if len(head) >= c.at && bytes.HasPrefix(head[c.at:], []byte(c.magic)) {
			return c.name
		}
	}
	return ""
}
