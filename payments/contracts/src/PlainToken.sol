// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @title Taking tokens in, exactly
library PlainToken {
    using SafeERC20 for IERC20;

    /// @notice The token delivered another amount than was asked for: it takes a fee, or rebases.
    error NotPlain(uint256 asked, uint256 arrived);

    /// @dev Reverts unless exactly `amount` arrives (SafeERC20 reverts where the token returns false).
    function take(IERC20 token, address from, uint256 amount) internal {
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(from, address(this), amount);
        uint256 arrived = token.balanceOf(address(this)) - before;
        if (arrived != amount) revert NotPlain(amount, arrived);
    }
}
