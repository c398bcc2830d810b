package main

import (
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type sidecar struct {
	address string
	process *os.Process
}

// start begins a sidecar in front of the service at this address, and waits until it is ready.
func start(data, service string) *sidecar {
	address, probes := freeAddress(), freeAddress()
	sse := "h2c"
	if *protocol == "h1" {
		sse = "http"
	}
	most := *events + *sockets + 200
	configuration := fmt.Sprintf(`
stateDir: %[1]s/state
probes: { listen: "%[2]s" }
authorities: { self: { issuer: "http://issuer.example", jwksFile: %[1]s/jwks.json, revocation: none } }
inbound:
  - name: streams
    listen: %[3]s
    upstream: http://%[4]s
    upstreams: { events: { url: "%[5]s://%[4]s" } }
    maxConnections: { total: %[6]d, perAddress: %[6]d }
    verifiedTokenCache: %[6]d
    authorities: [self]
    audiences: [streams]
    rules:
      - { paths: ["/events"], upstream: events }
      - { paths: ["/**"] }
`, data, probes, address, service, sse, most)
	file := data + "/sidecar.yaml"
	check(os.WriteFile(file, []byte(configuration), 0o600))
	lines, err := os.Create(data + "/log")
	check(err)
	command := exec.Command(*program, "run", "--config", file)
	command.Stderr = lines
	check(command.Start())
	ready := exec.Command(*program, "healthcheck", "--wait", "10", "--config", file)
	if err := ready.Run(); err != nil {
		text, _ := os.ReadFile(data + "/log")
		log.Fatalf("the sidecar is not ready: %s", text)
	}
	return &sidecar{address, command.Process}
}

func freeAddress() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	defer listener.Close()
	return listener.Addr().String()
}

func (it *sidecar) end() {
	_ = it.process.Signal(syscall.SIGTERM)
	_, _ = it.process.Wait()
}

// memory gives the resident memory in KiB.
func (it *sidecar) memory() int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", it.process.Pid))
	check(err)
	_, text2, _ := strings.Cut(string(text), "VmRSS:")
	number, err := strconv.Atoi(strings.Fields(text2)[0])
	check(err)
	return number
}

// processor gives the processor time so far, in the kernel's hundredths of a second.
func (it *sidecar) processor() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", it.process.Pid))
	check(err)
	fields := strings.Fields(string(text)[strings.LastIndex(string(text), ")")+1:])
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}
