// Opens many event streams and WebSockets through an inbound listener, each with a token of its own. All tokens expire in the
// same second. Prints the memory of a stream, when the streams ended, and the latency of small requests beside them. Fails if a
// stream ends early, late, or without saying why. docs/dev/benches.md says how to run it.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"time"
)

var (
	program  = flag.String("sidecar", "../../target/release/m2m-sidecar", "the binary")
	events   = flag.Int("events", 10_000, "event streams")
	sockets  = flag.Int("websockets", 2_000, "WebSockets")
	protocol = flag.String("protocol", "h2", "of the event streams: h2 or h1")
	lifetime = flag.Duration("lifetime", 60*time.Second, "from the start until the tokens expire")
	rate     = flag.Int("rate", 100, "small requests in a second")
)

// The bound of the project.
const mostLate = 5 * time.Second

func main() {
	flag.Parse()
	log.SetFlags(0)
	data, err := os.MkdirTemp("", "m2m-streams-")
	check(err)
	defer os.RemoveAll(data)
	signer := newSigner()
	check(os.WriteFile(data+"/jwks.json", signer.keySet(), 0o600))
	service := serve()
	sidecar := start(data, service)
	defer sidecar.end()

	began := time.Now()
	small := beginSmall(sidecar.address, signer.token(time.Hour+*lifetime), *rate)
	small.measure("before", sidecar, 10*time.Second)
	expiry := began.Add(*lifetime).Truncate(time.Second)
	tokens := signer.tokens(*events+*sockets, expiry)
	memory := sidecar.memory()
	opening := time.Now()
	all := open(sidecar.address, tokens)
	fmt.Printf("%d event streams over %s and %d WebSockets opened in %.1f s\n",
		*events, *protocol, *sockets, time.Since(opening).Seconds())
	// The checks of a stream begin after two seconds.
	time.Sleep(4 * time.Second)
	remaining := time.Until(expiry)
	if remaining < 5*time.Second {
		sidecar.end()
		log.Fatalf("too little time is left: %v; raise -lifetime", remaining)
	}
	small.measure("open", sidecar, min(remaining-2*time.Second, 15*time.Second))
	grown := sidecar.memory()
	time.Sleep(time.Until(expiry))
	small.measure("ending", sidecar, mostLate+time.Second)
	small.measure("after", sidecar, 10*time.Second)
	fmt.Printf("memory: %d KiB before, %d KiB with all streams, %d KiB after: %.1f KiB for a stream\n",
		memory, grown, sidecar.memory(), float64(grown-memory)/float64(len(tokens)))
	if !report(all.done(), expiry) {
		sidecar.end()
		os.Exit(1)
	}
}

// report prints when the streams ended, and whether all did so as they should.
func report(ends []end, expiry time.Time) bool {
	fine := true
	for _, kind := range []string{"events", "websocket"} {
		var after []time.Duration
		wrong := map[string]int{}
		for _, end := range ends {
			if end.kind != kind {
				continue
			}
			late := end.at.Sub(expiry)
			after = append(after, late)
			switch {
			case end.wrong != "":
				wrong[end.wrong]++
			case late < 0:
				wrong["ended early"]++
			case late > mostLate:
				wrong["ended late"]++
			}
		}
		if len(after) > 0 {
			fmt.Printf("%s: %d ended %.2f to %.2f s after the expiry, half of them within %.2f s\n", kind, len(after),
				quantile(after, 0).Seconds(), quantile(after, 1).Seconds(), quantile(after, 0.5).Seconds())
		}
		for why, count := range wrong {
			fmt.Printf("%s: %d WRONG: %s\n", kind, count, why)
			fine = false
		}
	}
	if len(ends) != *events+*sockets {
		fmt.Printf("WRONG: %d streams are still open\n", *events+*sockets-len(ends))
		fine = false
	}
	return fine
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
