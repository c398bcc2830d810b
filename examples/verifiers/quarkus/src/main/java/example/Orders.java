package example;

import jakarta.annotation.security.RolesAllowed;
import jakarta.inject.Inject;
import jakarta.ws.rs.GET;
import jakarta.ws.rs.Path;
import jakarta.ws.rs.Produces;
import jakarta.ws.rs.core.MediaType;
import org.eclipse.microprofile.jwt.JsonWebToken;

/** An API that requires the scope `orders:read`. */
@Path("/orders")
public class Orders {
    @Inject
    JsonWebToken token;

    @GET
    @Produces(MediaType.APPLICATION_JSON)
    @RolesAllowed("orders:read")
    public String orders() {
        return "{\"client_id\":\"" + token.getClaim("client_id") + "\"}";
    }
}
