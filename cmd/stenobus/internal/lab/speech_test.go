package lab

import "testing"

func TestOccurrences(t *testing.T) {
	t.Parallel()
	const said = "All of the sessions will move to another machine"
	for _, tt := range []struct {
		name, heard string
		want        int
	}{
		{"as it was said", "all of the sessions will move to another machine", 1},
		{"not at all", "you can stop the program at any time", 0},
		{"nothing", "", 0},
		{"half of it", "all of the sessions", 0},
		{"with a word wrong and one missing", "you can stop all of the session will move another machine at any time", 1},
		{"twice", "all of the sessions will move to another machine all of the sessions will move to another machine", 2},
		{"begun twice", "all of the all of the sessions will move to another machine", 1},
		{"twice, the second garbled", "all of the sessions will move to another machine all the sessions will move to other machine", 2},
	} {
		if got := occurrences(said, tt.heard); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
	if got := sentencesOf("One. Two three.  Four. "); len(got) != 3 || got[1] != "Two three" {
		t.Errorf("sentences %q", got)
	}
}
