//! The client and the server of `test.Service`, whose messages are plain bytes.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let mut service = Service::builder().name("Service").package("test");
    for (name, route, streams) in [
        ("echo", "Echo", (false, false)),
        ("secret", "Secret", (false, false)),
        ("closed", "Closed", (false, false)),
        ("fail", "Fail", (false, false)),
        ("hang", "Hang", (false, false)),
        ("count", "Count", (false, true)),
        ("watch", "Watch", (false, true)),
        ("sum", "Sum", (true, false)),
        ("meet", "Meet", (true, true)),
    ] {
        let mut method = Method::builder()
            .name(name)
            .route_name(route)
            .input_type("bytes::Bytes")
            .output_type("bytes::Bytes")
            .codec_path("crate::codec::Plain");
        if streams.0 {
            method = method.client_streaming();
        }
        if streams.1 {
            method = method.server_streaming();
        }
        service = service.method(method.build());
    }
    Builder::new().compile(&[service.build()]);
}
