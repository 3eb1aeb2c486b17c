package lab

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind is a kind of fault.
type Kind string

// The kinds of faults.
const (
	WorkerKill      Kind = "worker_kill"      // kill -9, started again a moment later
	WorkerHang      Kind = "worker_hang"      // stopped where it stands for longer than its gateways wait, then woken
	WorkerTerm      Kind = "worker_term"      // asked to stop: it hands its sessions over
	WorkerPartition Kind = "worker_partition" // cut off from the bus while it lives
	WorkerSlowLink  Kind = "worker_slow_link" // its link to the bus is slow and narrow

	DispatcherKill Kind = "dispatcher_kill"
	DispatcherHang Kind = "dispatcher_hang"
	DispatcherTerm Kind = "dispatcher_term"

	GatewayKill       Kind = "gateway_kill"
	GatewayHang       Kind = "gateway_hang"
	GatewayTerm       Kind = "gateway_term"
	GatewayWorkerKill Kind = "gateway_worker_kill" // both in the same instant

	ClientCut    Kind = "client_cut"    // a client's connection breaks
	SecondSocket Kind = "second_socket" // a client connects again while its first connection lives

	BusNodeKill   Kind = "bus_node_kill"   // a node that does not lead the results
	BusLeaderKill Kind = "bus_leader_kill" // the node that leads the results
	BusNodeTerm   Kind = "bus_node_term"
	BusNodeHang   Kind = "bus_node_hang"
	BusLatency    Kind = "bus_latency" // every link to one node is slow
	BusDown       Kind = "bus_down"    // all nodes at once
	DiskFull      Kind = "disk_full"   // below one node's streams
)

// group says which faults keep clear of each other.
type group int

const (
	ofProcess group = iota
	ofBus
	ofClient
)

// trait is what the schedule needs to know of a kind.
type trait struct {
	kind        Kind
	group       group
	least, most time.Duration // how long it lasts
	heal        time.Duration // after it, until the next fault may come
	full, quick int           // how many in a long run of an hour and in a quick one
	moves       bool          // sessions recover at another worker, or not at all
}

// kinds lists all faults in the order of reports.
var kinds = []trait{
	{kind: WorkerKill, least: time.Second, most: 2 * time.Second, heal: 3 * time.Second, full: 30, quick: 2, moves: true},
	{kind: WorkerHang, least: 4 * time.Second, most: 7 * time.Second, heal: 2 * time.Second, full: 30, quick: 1, moves: true},
	{kind: WorkerTerm, heal: 5 * time.Second, full: 30, quick: 1},
	{kind: WorkerPartition, least: 6 * time.Second, most: 6 * time.Second, heal: 3 * time.Second, full: 30, quick: 1, moves: true},
	{kind: WorkerSlowLink, least: 5 * time.Second, most: 8 * time.Second, heal: 2 * time.Second, full: 30},

	{kind: DispatcherKill, least: time.Second, most: 2 * time.Second, heal: 2 * time.Second, full: 30, quick: 1},
	{kind: DispatcherHang, least: 4 * time.Second, most: 6 * time.Second, heal: 2 * time.Second, full: 30, quick: 1},
	{kind: DispatcherTerm, heal: 3 * time.Second, full: 30},

	{kind: GatewayKill, least: time.Second, most: 2 * time.Second, heal: 4 * time.Second, full: 30, quick: 1},
	{kind: GatewayHang, least: 5 * time.Second, most: 8 * time.Second, heal: 3 * time.Second, full: 30},
	{kind: GatewayTerm, heal: 6 * time.Second, full: 30, quick: 1},
	{kind: GatewayWorkerKill, least: time.Second, most: 2 * time.Second, heal: 6 * time.Second, full: 30, quick: 1},

	{kind: ClientCut, group: ofClient, full: 30, quick: 4},
	{kind: SecondSocket, group: ofClient, full: 30, quick: 2},

	{kind: BusNodeKill, group: ofBus, least: 2 * time.Second, most: 4 * time.Second, heal: 4 * time.Second, full: 10, quick: 1},
	{kind: BusLeaderKill, group: ofBus, least: 2 * time.Second, most: 4 * time.Second, heal: 10 * time.Second, full: 10, quick: 1},
	{kind: BusNodeTerm, group: ofBus, least: 2 * time.Second, most: 4 * time.Second, heal: 4 * time.Second, full: 10},
	{kind: BusNodeHang, group: ofBus, least: 8 * time.Second, most: 12 * time.Second, heal: 5 * time.Second, full: 10},
	{kind: BusLatency, group: ofBus, least: 6 * time.Second, most: 10 * time.Second, heal: 2 * time.Second, full: 10},
	{kind: BusDown, group: ofBus, least: 5 * time.Second, most: 5 * time.Second, heal: 10 * time.Second, full: 10},
	{kind: DiskFull, group: ofBus, least: 5 * time.Second, most: 8 * time.Second, heal: 8 * time.Second, full: 10},
}

func traitOf(k Kind) (trait, bool) {
	i := slices.IndexFunc(kinds, func(t trait) bool { return t.kind == k })
	if i < 0 {
		return trait{}, false
	}
	return kinds[i], true
}

// Mix is how many faults of each kind.
type Mix map[Kind]int

// FullMix is the mix of a long run: of one that takes an hour 30 of each process kind
// and 10 of each bus kind, of a shorter one as many as fit. Some need the audio log, or
// the right to mount a filesystem.
func FullMix(length time.Duration, audioLog, mounts bool) Mix {
	m := Mix{}
	for _, t := range kinds {
		m[t.kind] = max(1, int(float64(t.full)*min(1, length.Hours())+0.5))
	}
	return m.without(!audioLog, !mounts)
}

// QuickMix is the mix of a run of a minute or two.
func QuickMix(audioLog bool) Mix {
	m := Mix{}
	for _, t := range kinds {
		if t.quick > 0 {
			m[t.kind] = t.quick
		}
	}
	return m.without(!audioLog, true)
}

func (m Mix) without(both, disk bool) Mix {
	if both {
		delete(m, GatewayWorkerKill)
	}
	if disk {
		delete(m, DiskFull)
	}
	return m
}

// ParseMix reads "worker_kill=3,client_cut=10"; "none" is a run without faults.
func ParseMix(text string) (Mix, error) {
	m := Mix{}
	if text == "none" {
		return m, nil
	}
	for item := range strings.SplitSeq(text, ",") {
		name, number, _ := strings.Cut(item, "=")
		n, err := strconv.Atoi(number)
		if _, ok := traitOf(Kind(name)); !ok {
			return nil, fmt.Errorf("no kind of fault is called %q, there are %s", name, KindNames())
		}
		if err != nil || n < 0 || n > 100_000 {
			return nil, fmt.Errorf("%q: want KIND=NUMBER, such as worker_kill=3", item)
		}
		m[Kind(name)] = n
	}
	return m, nil
}

// KindNames lists the kinds, with commas between them.
func KindNames() string {
	var names []string
	for _, t := range kinds {
		names = append(names, string(t.kind))
	}
	return strings.Join(names, ", ")
}

// Only leaves of a mix what the clients alone can do.
func (m Mix) Only(clients bool) Mix {
	out := Mix{}
	for _, t := range kinds {
		if !clients || t.group == ofClient {
			if n := m[t.kind]; n > 0 {
				out[t.kind] = n
			}
		}
	}
	return out
}
