#!/usr/bin/env bash
# Makes the samples anew, from nothing but the texts below: synthetic voices, so that
# nobody's speech is shipped. Needs flite, sox and opusenc; on Debian these are the
# packages flite, sox and opus-tools. It installs nothing and writes to its own folder.
set -euo pipefail
cd "$(dirname "$0")"

for tool in flite sox opusenc; do
	if ! command -v "$tool" >/dev/null; then
		echo "make.sh: $tool is missing; the Debian packages are flite, sox and opus-tools" >&2
		exit 1
	fi
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# speak VOICE STRETCH FILE TEXT: one passage, 16 kHz mono 16 bit. -R makes the
# dither of sox the same each time.
speak() {
	flite -voice "$1" --setf duration_stretch="$2" -t "$4" -o "$work/raw.wav"
	sox -R "$work/raw.wav" -r 16000 -b 16 -c 1 "$3" norm -3
}

# text NAME TEXT: what a sample says.
text() { printf '%s\n' "$2" >"$1.txt"; }

# opus NAME WAV: 24 kbit/s, in packets of 20 ms. The fixed serial number makes the file
# the same each time.
opus() { opusenc --quiet --bitrate 24 --serial 1 --discard-comments --discard-pictures "$2" "$1.ogg"; }

sample() { # VOICE STRETCH NAME TEXT
	text "$3" "$4"
	speak "$1" "$2" "$work/$3.wav" "$4"
	opus "$3" "$work/$3.wav"
}

sample awb 1.1 writing "Please write down what I say. I will read the text in the morning."
sample rms 1.1 story "Nothing is lost when a computer goes down. Another computer will continue the story."
sample slt 1.1 thanks "Thank you for your time. The meeting will continue tomorrow morning at nine."

# Two sentences with a pause between them, which gives two finals.
first="We hear what you say, and we send it back to you in writing."
second="The second machine will take over when the first machine stops."
text pause "$first $second"
speak slt 1.1 "$work/first.wav" "$first"
speak slt 1.1 "$work/second.wav" "$second"
sox -R "$work/first.wav" "$work/padded.wav" pad 0 1.5
sox -R "$work/padded.wav" "$work/second.wav" "$work/pause.wav"
opus pause "$work/pause.wav"

# One file is WAV, for programs that have no Opus.
said="You can stop the program at any time. All of the sessions will move to another machine."
text sessions "$said"
speak rms 1 sessions.wav "$said"
